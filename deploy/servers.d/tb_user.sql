CREATE DATABASE shop CHARACTER SET utf8mb4;
USE shop;
create table tb_user (
  id int(11) unsigned auto_increment comment 'ID' primary key,
  username varchar(100) default '' not null comment '用户名',
  age int default 0 not null comment '年龄',
  email varchar(64) default '' not null comment '邮箱',
  created_time datetime default CURRENT_TIMESTAMP not null comment '创建时间',
  modified_time datetime default CURRENT_TIMESTAMP not null on update CURRENT_TIMESTAMP comment '更新时间',
  is_deleted tinyint(2) default 0 not null comment '是否删除'
) comment '用户信息表' charset = utf8mb4;
create table tb_user2 like tb_user;
